"""Keys in a PKCS#11 token: made there, used there, never to leave it.

    server process --Unix socket--> worker process --PKCS#11--> token

`store.open_token` gives a store for `settings.TokenSettings`; `worker` is the process that loads the module.
"""
