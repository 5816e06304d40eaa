"""Views that were written for dwebsocket, unchanged, and what each of them relies on.

``project`` is such a Django project, which runs on the original as well: Python 3.8 and Django 2.2.
The tests have the numbers of the behaviours and traps that were found in the original and in the
projects of its users.
"""
