// Package apiserver is the Kubernetes API as far as a kube-proxy reads it: list, get and watch of the Services, EndpointSlices, Nodes and
// ServiceCIDRs of a cluster that is data (topology.Cluster), in JSON and protobuf. Events are taken and thrown away. Nothing is stored, nobody
// is authenticated: it is to be reached from a lab's namespaces only.
package apiserver
