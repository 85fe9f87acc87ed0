"""The only room with asyncio, sockets, files, RocksDB and processes."""
