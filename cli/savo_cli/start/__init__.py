"""`savo up`: checks, plan and supervised processes of a product on one machine."""
