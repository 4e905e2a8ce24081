"""The guarded model behind OpenAI's interface: `guardrail serve`. Needs the extra `server`.

gate      every request before its route: id, host, keys, sizes; every response's headers, and one line of log
requests  what a body may say
queue     who may work on the model now, who waits, who is turned away
service   a request -> a Guard -> a reply, in a thread
state     what the routes share, and how a request's work is done in a slot
streams   a reply -> server-sent events
observing an answer that does not wait for its verdict
late_verdicts, webhooks, destinations    where that verdict is kept, who is told of it, and where those may be
log       a line for each thing that happens
bodies    a reply -> OpenAI's JSON
app       the routes
heaps     what memory its threads allocate from
run       the process: a socket, signals, draining
ray_serve replicas of it on Ray Serve, behind one address
"""
