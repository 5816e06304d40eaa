"""A Django project with test cases as users write them, run by Django and by pytest-django.

It finds its database and its runner in the environment, and is never imported by the process of the
tests.
"""
