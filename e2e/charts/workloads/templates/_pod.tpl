{{- define "workloads.pod" -}}
metadata:
  labels:
    app: {{ .Release.Name }}-{{ .kind }}
    charts.drover.invalid/pods: {{ .Values.pods }}
spec:
  {{- if eq .kind "job" }}
  restartPolicy: Never
  {{- end }}
  containers:
  - name: main
    image: {{ .Values.image }}
{{- end }}
