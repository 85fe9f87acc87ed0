"""Values and ports that every machine shares. Imports nothing from the other rooms."""
