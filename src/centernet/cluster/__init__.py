"""Spread an evaluation over a Dask cluster.

:mod:`.client` divides a run into shards and merges their journals; :mod:`.worker` is what runs on the
workers. Nothing but the options and the number of a shard is sent to them, and, where they share no folder
with the client, a journal back.
"""
