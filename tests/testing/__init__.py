"""Tests of ``adwebsocket.testing``: what users' tests do, done here and in small projects."""
