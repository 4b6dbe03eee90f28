"""Devices, precision, and what the processes of one training tell one another."""
