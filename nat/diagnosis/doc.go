// Package diagnosis tells of a packet in one word whether it works, what that depends on, and which rule, route or setting is to blame: it tries
// what the packet would do if one thing of the node were another. How a packet goes is the gateway's.
package diagnosis
