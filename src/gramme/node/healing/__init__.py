"""Groups that heal themselves: what a leader does about replicas that are missing (docs/design/reconfiguration.md)."""
