"""Stand-in for the paid providers: answers from known truth, with a known error model, in their wire formats.

python -m savo_demo.standin --truth DIR
"""
