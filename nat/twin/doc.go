// Package twin plans a lab of a cluster some of whose nodes are as their own programs print them: their devices, addresses, routes, rules of routing
// and settings are the dumps', what is around them is stood in for, and the other nodes are made up from the objects. It also names what of a dump
// is to blame for a flow that such a lab disproves. Who makes the lab is lab's.
package twin
