"""The commands that only read, or that change registrations."""
