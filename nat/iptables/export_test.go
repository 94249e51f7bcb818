package iptables

// Whole reports whether all of a table's chains are beside one another.
func (c *Compiled) Whole() bool { return len(c.parts) == 0 || c.full.Load() != nil }
