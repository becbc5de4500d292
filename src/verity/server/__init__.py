"""HTTP: the API that programs for OpenAI's models speak, answered by this device, every answer with its receipt.

    listening.py  from the first request to the last: socket, TLS, signals, shutdown
    patience.py   how long a connection may hold its place  app.py       the HTTP layer, put together
    traffic.py    requests under way: counted, logged        gate.py     who may come in: host, origin, key, size
    routes.py     one function per address                   sending.py  whole or as events, while somebody waits
    wire.py       what is asked, as it comes                 asked.py    … and as Verity answers it
    replies.py    what is answered, as it goes               shapes.py, chat.py, completions.py   … made from answers
    answers.py    the answers to one request, running        failures.py  every error in OpenAI's form
    answering.py  what the HTTP layer needs of the device: types
    serving.py    the device at work for many callers: READ FIRST for what is below

docs/server.md is for those who use it.
"""
