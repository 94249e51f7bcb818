// Package netns is the one door into a network namespace: it makes, opens, enters and deletes the named ones under
// /run/netns, as ip(8) has them. What stands inside a namespace is not its business.
package netns
