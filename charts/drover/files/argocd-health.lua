-- Health of drover.dev/* for Argo CD: the conditions as kstatus reads them.
local function condition(name)
  for _, found in ipairs(obj.status and obj.status.conditions or {}) do
    if found.type == name then
      return found
    end
  end
end

local function health(status, message)
  return { status = status, message = message }
end

local ready, reconciling, stalled = condition("Ready"), condition("Reconciling"), condition("Stalled")
if obj.metadata.deletionTimestamp then
  return health("Progressing", "is being deleted")
end
if not ready or (obj.status.observedGeneration or -1) ~= obj.metadata.generation then
  return health("Progressing", "Drover has not looked at this version yet")
end
if stalled and stalled.status == "True" then
  return health("Degraded", stalled.message)
end
if ready.status == "True" then
  return health("Healthy", ready.message)
end
if reconciling and reconciling.status == "True" or ready.status == "Unknown" then
  return health("Progressing", ready.message)
end
return health("Degraded", ready.message)
