"""The files of a node's log: a log-writer process, the directory lock, and a disk that forgets."""
