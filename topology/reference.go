package topology

import (
	"bytes"
	_ "embed"
)

//go:embed reference/cluster.yaml
var referenceYAML []byte

//go:embed reference/dual-stack.yaml
var dualStackYAML []byte

// ReferenceSource is the reference cluster's input: a Lab document and the objects of a real six-node cluster
// (Kubernetes v1.25.1, Calico IPIP). It is what natlab uses when no file is given, and an example of every
// field of the Lab document.
func ReferenceSource() Source {
	return Source{Name: "reference/cluster.yaml", Reader: bytes.NewReader(referenceYAML)}
}

// DualStackSource is the reference cluster's twin with IPv4 and IPv6: its Services are of one family and of both, prefer and require both.
// IPv4 crosses the underlay in IPIP, IPv6, which that cannot carry, as it is.
func DualStackSource() Source {
	return Source{Name: "reference/dual-stack.yaml", Reader: bytes.NewReader(dualStackYAML)}
}

// Reference is the reference cluster.
func Reference() (Cluster, error) {
	c, _, err := Load(ReferenceSource())
	return c, err
}

// DualStack is the reference cluster's twin of both families.
func DualStack() (Cluster, error) {
	c, _, err := Load(DualStackSource())
	return c, err
}
