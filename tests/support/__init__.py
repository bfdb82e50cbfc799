"""What several tests use: runs in one line, and a proxy that loses answers."""
