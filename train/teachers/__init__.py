"""Teachers: policies whose won episodes on train games a student learns from, and what is wrapped around them.

There is one today, the searching expert.
"""
