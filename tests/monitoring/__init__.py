"""What server processes tell of themselves: to code, to views, to Prometheus, and to people."""
