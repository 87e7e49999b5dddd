"""What the measuring scripts and the interop parts share. Every entry point puts the folder `scripts` on PYTHONPATH and is run from
the root of the checkout."""
