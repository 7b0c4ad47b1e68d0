"""A stand-in for the paid providers: answers from known truth, with a known error model, over their own wire formats.

python -m savo_demo.standin --truth DIR
"""
