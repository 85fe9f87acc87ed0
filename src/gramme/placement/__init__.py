"""Pure placement: key to token to replicas, the partition map, zone-aware choice."""
