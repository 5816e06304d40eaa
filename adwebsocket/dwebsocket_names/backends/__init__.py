"""``dwebsocket.backends``: the servers that dwebsocket knew. All are ours."""
