"""Measurements that come with the command: `gramme bench …`. (`make bench` measures what needs the repository.)"""
