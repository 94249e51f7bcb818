// Package inspect looks at the rules of any network namespace, a lab's node or the machine itself: it reads what the
// kernel holds as bytes, and compares that with what kube-proxy would have written. It changes no rule.
package inspect
