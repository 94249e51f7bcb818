// Package topology turns Kubernetes objects into plain values: a Cluster (what the objects describe) and a Plan (the
// namespaces, devices, addresses and routes that make it real). It knows no rules, no kernel and no packet.
package topology
