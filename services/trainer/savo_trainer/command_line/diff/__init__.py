"""`savo models diff`: figures of two models on the same photos, and the differences photo by photo."""
