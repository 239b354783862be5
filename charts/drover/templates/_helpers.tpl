{{- define "drover.name" -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Cluster-scoped names say the namespace as well, so that two releases of one name do not meet. */}}
{{- define "drover.clusterName" -}}
{{- if and (eq .Release.Name "drover") (eq .Release.Namespace "drover-system") -}}drover{{- else -}}{{ printf "drover:%s:%s" .Release.Namespace .Release.Name }}{{- end -}}
{{- end -}}

{{- define "drover.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "drover.name" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed when serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "drover.selectorLabels" -}}
app.kubernetes.io/name: drover
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "drover.labels" -}}
{{ include "drover.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* No default: a bare name would be pulled from a public registry, where anybody may own it. Without replicas nothing is pulled. */}}
{{- define "drover.image" -}}
{{- with .Values.image -}}
{{- $repository := .repository | default (ternary "image-repository-is-not-set.invalid/drover" "" (eq (int $.Values.replicaCount) 0)) -}}
{{- $repository = required "image.repository is not set: build and push the image, and set image.repository to it (docs/install.md)" $repository -}}
{{- if .digest -}}{{ $repository }}@{{ .digest }}{{- else -}}{{ $repository }}:{{ default $.Chart.AppVersion .tag }}{{- end -}}
{{- end -}}
{{- end -}}

{{/* Metadata of one object: (list $ name) */}}
{{- define "drover.metadata" -}}
{{- $root := index . 0 -}}
name: {{ index . 1 | quote }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "drover.labels" $root | nindent 2 }}
{{- end -}}

{{- define "drover.subjects" -}}
- kind: ServiceAccount
  name: {{ include "drover.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}
