"""What tests share: clock, network, cluster, history, wait."""
