"""What is measured besides the contenders' throughput; one file each."""
