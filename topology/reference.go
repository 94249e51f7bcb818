package topology

import (
	"bytes"
	_ "embed"
)

//go:embed reference/cluster.yaml
var referenceYAML []byte

// ReferenceSource is the reference cluster's input: a Lab document and the objects of a real six-node cluster
// (Kubernetes v1.25.1, Calico IPIP). It is what natlab uses when no file is given, and an example of every
// field of the Lab document.
func ReferenceSource() Source {
	return Source{Name: "reference/cluster.yaml", Reader: bytes.NewReader(referenceYAML)}
}

// Reference is the reference cluster.
func Reference() (Cluster, error) {
	c, _, err := Load(ReferenceSource())
	return c, err
}
