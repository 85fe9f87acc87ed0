"""When nothing fails any more, every group is whole again: as many storage replicas vote as it was founded with, where
they should be, and nothing is left over of what helped meanwhile."""

from __future__ import annotations

from gramme.kernel.ids import GroupId
from gramme.paxos.configuration import Configuration
from gramme.sim.cluster import SimCluster

_REPLICAS = 3


def unhealed(cluster: SimCluster) -> str | None:
    """What is wrong with a group, in words; None where all are whole, or cannot be expected to be.

    A machine that is gone for good is missed by its groups until `replace_after`; where fewer than three are left, or
    groups are not to heal, nothing is asked.
    """
    machines = cluster.sound_machines
    gone = any(machine.burnt for machine in cluster.machines)
    if not cluster.config.healing or len(machines) < _REPLICAS:
        return None
    waits = gone and cluster.config.replace_after_ns > cluster.world.now_ns
    configurations = _configurations(cluster)
    removed = [machine.id for machine in cluster.machines if machine.removed]
    for group, led in configurations.items():
        if any(node in led.nodes for node in removed):
            return f"group {group} names a node that was removed: {led.replicas}, removed {removed}"
    for machine in machines:
        assert machine.node is not None
        groups = machine.node.groups
        for group in (*groups.partitions, *groups.logs):
            configuration = configurations.get(group)
            if configuration is None:
                return f"nobody leads group {group}"
            if waits:
                continue
            if configuration.nodes != configuration.eligible or len(configuration.eligible) != _REPLICAS:
                return f"group {group} is not whole: {configuration.replicas}"
            if machine.id not in configuration.nodes:
                return f"node {machine.id} still has a replica of group {group}, which is on {configuration.nodes}"
        for group in groups.amnesiac:
            if group in configurations and machine.id in configurations[group].nodes and not waits:
                return f"node {machine.id} has an amnesiac replica of group {group}: {groups.amnesiac[group]}"
    return None


def _configurations(cluster: SimCluster) -> dict[GroupId, Configuration]:
    """The newest configuration of each group that somebody leads."""
    return {
        group: partition.replica.configuration
        for machine in cluster.sound_machines
        if machine.node is not None
        for group, partition in machine.node.groups.partitions.items()
        if partition.leading
    }
