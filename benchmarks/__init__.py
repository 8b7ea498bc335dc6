"""Measurements that hold weigh's predictions against the programs that it speaks of."""
