"""Key stores: where key material lives and is used. Imports nothing of the service and no gRPC.

`base` is the contract, `ciphertext` the blob format, `software` the default store. Importing this package
loads none of them and nothing here returns key material.
"""
