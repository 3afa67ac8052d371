"""The ground floor: devices, topologies, and compiling for hardware that is not there."""
