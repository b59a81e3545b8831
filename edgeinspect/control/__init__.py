"""The control socket: its protocol, the server in the station, the client, and the event feed.

It may import ``records``, ``settings`` and the rooms above them. Begin with ``protocol``, then read
``commands`` and ``server``.
"""
