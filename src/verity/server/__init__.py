"""HTTP: the API that programs for OpenAI's models speak, answered by this device, every answer with its receipt.

    app.py        the whole, put together
    gate.py       who may come in: host, origin, key, size
    routes.py     one function per address
    wire.py       what is asked, as it comes          asked.py    … and as Verity answers it
    replies.py    what is answered, as it goes        chat.py, completions.py    … made from an answer
    answers.py    the answers to one request, running
    answering.py  what this layer needs of the one below

docs/server.md is for those who use it.
"""
