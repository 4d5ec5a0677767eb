"""Hundreds of simulated nodes in one process (`dslice run simnodes`): each with its own identity, address and store.

What they answer is what real nodes answer; only slivers are not there, and `dslice fault` says how they misbehave.
"""


def main() -> None:
    """Run the process that the environment describes (`nodemgr.settings.SimulationSettings`)."""
    from testbed.simulation.process import main as run

    run()
