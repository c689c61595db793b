"""Measures Bazar beside what a user would pick instead; see docs/performance.md.

Linux only: it reads /proc and pins processes to cores.
"""
