namespace moesaic {}
