// Package kube turns a Cluster back into Kubernetes objects, and lists these in the columns that kubectl prints. What a Cluster does not hold of
// an object, such as its age or a Service's selector, is listed as unknown and left out of the object.
package kube
