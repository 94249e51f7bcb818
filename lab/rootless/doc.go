// Package rootless gives a process that is not root a place in which it is: a user namespace with the caller as its root, and network and mount
// namespaces of that, with a /run of its own. All commands of one user share one place, which ends with the last process in it; a test has its own.
// It knows no lab, but for where a lab writes down who owns it.
package rootless
