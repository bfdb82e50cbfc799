"""Where rows come from and who read them: by table, by interval, down to source files and up to models."""
