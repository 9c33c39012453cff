"""A model as a server that segments the pictures it is sent."""
