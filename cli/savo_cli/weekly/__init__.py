"""`savo digest`: the weekly digest, on the terminal, as HTML and by mail."""
