"""What is marked on a scan: boxes, RECIST, findings of machines and annotations of people."""
