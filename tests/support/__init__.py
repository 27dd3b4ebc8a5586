"""What tests share: a cluster to talk to, an object store to check with, waiting with deadlines."""
