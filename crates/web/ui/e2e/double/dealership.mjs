// A believable dealership, all of it invented: people, cars, tasks, calls.
const DAY_US = 86_400_000_000
const id = (kind, n) => `0190${kind.padStart(4, '0')}-0000-7000-8000-${String(n).padStart(12, '0')}`
export const nowUs = () => Date.now() * 1000
export const dayIn = (days) =>
  new Date(Date.now() + 8 * 3_600_000 + days * 86_400_000).toISOString().slice(0, 10)

const PEOPLE = [
  [
    '王建国',
    '先生',
    '13800004409',
    ['vip', 'complainant'],
    '沪A·D3962',
    '帕萨特 330TSI 尊贵版',
    '2.0T',
  ],
  ['李秀英', '女士', '13900007745', ['complainant'], '沪A·7K215', '朗逸 1.5L 自动', '1.5L'],
  ['张伟', '先生', '18621003388', [], '沪A·D30867', 'ID.4 X 智享长续航', ''],
  ['刘洋', '先生', '13564218890', ['vip'], '沪C·L6021', '途观 L 380TSI', '2.0T'],
  ['陈建军', '先生', '17701256634', [], '沪B·58N93', '途岳 280TSI', '1.4T'],
  ['赵敏', '女士', '15000982217', ['at_risk'], '苏E·9T730', '凌渡 L', '1.4T'],
  ['黄志强', '先生', '13774413902', [], '沪A·G8812', '途昂 X 380TSI', '2.0T'],
  ['周丽华', '女士', '18918834450', [], '沪A·F02159', 'ID.6 X', ''],
  ['吴昊', '先生', '13816620071', ['caution_list'], '沪D·K9031', '帕萨特 280TSI', '1.4T'],
  ['孙桂芳', '女士', '02158996120', [], '沪A·1H628', '朗逸新锐', '1.5L'],
  ['徐磊', '先生', '18017783345', ['vip'], '沪A·F61820', 'ID.3 纯享版', ''],
  ['马晓东', '先生', '13661195508', [], '沪F·T3350', '途观 L 330TSI', '2.0T'],
]

const NOTES = [
  '询问质保期内空调异响是否免费检修，已转服务顾问李强。',
  '约定周六上午到店，提醒携带保养手册。',
  '客户在开会，下午再打。',
  '商业险月底到期，已发报价，客户在比价。',
  '反映上次交车等待两小时，要求店长回电。',
]

function contact(n, over = {}) {
  return {
    call_id: id('00ca', 500 + n),
    at: nowUs() - (n + 1) * 9 * DAY_US - n * 3_600_000_000,
    kind: ['inbound', 'outbound', 'visit', 'outbound', 'inbound'][n % 5],
    user_name: ['陈静', '周敏', '李强'][n % 3],
    result: ['completed', 'completed', '', 'no_answer', 'partial'][n % 5],
    note: NOTES[n % NOTES.length],
    talk_ms: [226_000, 118_000, 0, 0, 141_000][n % 5],
    recording_id: n % 5 < 2 || n % 5 === 4 ? id('00ec', 1 + (n % 3)) : null,
    ...(n % 5 === 2 ? { call_id: null } : {}),
    ...over,
  }
}

function customer([name, salutation, number, segments, plate, model, displacement], n) {
  const open_items = []
  if (segments.includes('complainant')) {
    open_items.push({
      follow_up_id: id('00f0', 900 + n),
      type: 'complaint_handling',
      state: 'open',
      due_on: dayIn(-1),
      subject: '8 月 6 日交车等待 2 小时 10 分，客户要求店长致电，请优先接待',
      owner_name: '周敏',
    })
  }
  if (n % 2 === 0) {
    open_items.push({
      follow_up_id: id('00f0', 1 + n),
      type: 'insurance_renewal',
      state: 'open',
      due_on: dayIn(n === 0 ? 0 : 21),
      subject: '商业险 21 天后到期，尚未报价',
      owner_name: '陈静',
    })
  }
  const vehicle = {
    vehicle_id: id('00e0', n),
    plate,
    vin: `LSVCC6F4XM2A${String(48837 + n).padStart(5, '0')}`,
    model,
    displacement,
    transmission: displacement ? 'AT' : '',
    mileage_km: 46_210 - n * 3117,
    last_visit_on: dayIn(-100 + n),
    next_service_on: dayIn(14 - n * 5),
    insurance_due_on: dayIn(21 + n * 15),
  }
  return {
    customer_id: id('00c0', n),
    customer_no: `C00218${String(37 + n)}`,
    name,
    salutation,
    lifecycle: n % 6 === 4 ? 'prospect' : 'existing',
    segments,
    lead_grade: n % 6 === 4 ? 'A' : '',
    owner_name: ['李强', '周敏', '陈静'][n % 3],
    source: ['bought_here', 'walk_in', 'referral'][n % 3],
    note: n === 0 ? '对价格敏感，上午联系较方便。' : '',
    phones: [
      { number, number_key: `+86${number.replace(/^0/, '')}`, label: '本人', is_primary: true },
      ...(n === 0
        ? [
            {
              number: '13900007788',
              number_key: '+8613900007788',
              label: '配偶',
              is_primary: false,
            },
          ]
        : []),
    ],
    vehicles: [
      vehicle,
      ...(n === 0
        ? [
            {
              ...vehicle,
              vehicle_id: id('00e0', 99),
              plate: '沪A·F61829',
              model: 'ID.6 X 长续航',
              displacement: '',
              transmission: '',
              mileage_km: 21_870,
              next_service_on: dayIn(-6),
              insurance_due_on: dayIn(187),
            },
          ]
        : []),
    ],
    open_items,
    last_contacts: [0, 1, 2, 3, 4].map((k) => contact(k)).slice(0, n === 11 ? 0 : 5),
  }
}

export function makeDealership() {
  const customers = PEOPLE.map(customer)
  const row = (c) => ({
    customer_id: c.customer_id,
    customer_no: c.customer_no,
    name: c.name,
    salutation: c.salutation,
    lifecycle: c.lifecycle,
    segments: c.segments,
    number: c.phones[0]?.number ?? '',
    plate: c.vehicles[0]?.plate ?? '',
    model: c.vehicles[0]?.model ?? '',
    owner_name: c.owner_name,
    last_contact_at: c.last_contacts[0]?.at ?? null,
  })
  const TYPES = [
    ['complaint_handling', '洗车划痕，等待店长处理结果'],
    ['first_maintenance_7dc', 'ID.4 X，里程约 4 800 km'],
    ['insurance_renewal', '商业险 11-28 到期，已报价'],
    ['test_drive', '周六试驾途观 L，关注金融方案'],
    ['maintenance_reminder', '距上次保养 11 个月'],
    ['insurance_renewal', '上次表示比价中'],
    ['service_3dc', '更换前刹车片，三日回访'],
    ['delivery_3dc', '新车交付第 3 天'],
    ['quarterly_contact', '双十二置换专场'],
    ['service_csat', '服务满意度回访'],
  ]
  const followUps = TYPES.map(([type, subject], n) => {
    const c = customers[n + 1]
    const isDone = n >= 8
    return {
      follow_up_id: id('00f0', 100 + n),
      type,
      state: isDone ? 'done' : n === 2 ? 'in_progress' : 'open',
      due_on: dayIn(n === 0 ? -3 : 0),
      subject,
      owner_id: id('00aa', 1),
      owner_name: '陈静',
      customer_id: c.customer_id,
      customer_name: c.name,
      salutation: c.salutation,
      segments: c.segments,
      number: c.phones[0].number,
      plate: c.vehicles[0].plate,
      model: c.vehicles[0].model,
      attempts: n === 2 ? 1 : 0,
      last_outcome: n === 2 ? 'no_answer' : '',
      note: '',
      closed_at: isDone ? nowUs() - 3_600_000_000 : null,
      recording_ids: isDone ? [id('00ec', 1)] : [],
    }
  })
  const calls = Array.from({ length: 24 }, (_, n) => {
    const c = n % 7 === 5 ? null : customers[n % customers.length]
    const answered = n % 4 !== 3
    const at = nowUs() - (n * 37 + 8) * 60_000_000
    return {
      call_id: id('00ca', n),
      direction: n % 3 === 1 ? 'outbound' : 'inbound',
      offered_at: at,
      answered_at: answered ? at + 9_000_000 : null,
      ended_at: at + 120_000_000,
      talk_ms: answered ? 96_000 : 0,
      number: c ? c.phones[0].number : n % 2 ? '13512340987' : 'anonymous',
      line_name: n % 3 === 1 ? '' : '售后热线',
      extension: '8021',
      user_name: '陈静',
      customer_id: c?.customer_id ?? null,
      customer_name: c?.name ?? '',
      plate: c?.vehicles[0].plate ?? '',
      cause: answered ? 'hung_up' : 'cancelled',
      outcome: answered ? ['completed', 'partial', 'call_back'][n % 3] : '',
      follow_up_id: n % 3 === 0 && c ? id('00f0', 100 + (n % 8)) : null,
      recording_id: answered ? id('00ec', n) : null,
      verdict: answered ? ['ok', 'ok', 'one_way', 'paused', 'short'][n % 5] : '',
    }
  })
  const users = [
    ['chenjing', '陈静', 'agent', '8021'],
    ['zhoumin', '周敏', 'supervisor', '8022'],
    ['admin', '徐主任', 'admin', '8020'],
    ['qiuyu', '邱雨', 'qa', null],
  ].map(([username, name, role, extension], n) => ({
    user_id: id('00aa', n + 1),
    username,
    name,
    role,
    extension,
    disabled: false,
  }))
  const extensions = ['8020', '8021', '8022', '8023'].map((number, n) => ({
    number,
    display_name: ['前台', '客服一', '客服二', '备用'][n],
    user_name: users.find((u) => u.extension === number)?.name ?? '',
    registered: n < 3,
    reach: ['national', 'local', 'national', 'internal'][n],
    user_agent: n < 3 ? 'Yealink SIP-T46U 108.86.0.45' : '',
    address: n < 3 ? `192.168.8.${20 + n}:5060` : '',
    registrar: '192.168.8.2:5060',
  }))
  const nobody = { kind: 'unavailable', to: '' }
  const line = (n, did, name, ring, schedule) => ({
    line_id: id('00dd', n),
    did,
    name,
    group: ring,
    schedule,
    closed: nobody,
  })
  const group = (n, name, members, ring_seconds) => ({
    group_id: id('00bb', n),
    name,
    members,
    ring_seconds,
    strategy: 'ring_all',
    member_seconds: 15,
    skip_busy: true,
    no_answer: nobody,
    all_busy: { kind: 'busy', to: '' },
    nobody,
  })
  const lines = {
    lines: [
      line(1, '58998000', '售后热线', '售后一组', '营业时间'),
      line(2, '58998100', '销售热线', '销售组', null),
    ],
    groups: [group(1, '售后一组', ['8021', '8022'], 30), group(2, '销售组', ['8020'], 25)],
    schedules: [
      {
        schedule_id: id('00d5', 1),
        name: '营业时间',
        week: [0, 1, 2, 3, 4, 5, 6].map((day) => (day < 6 ? [{ from: '08:30', to: '17:30' }] : [])),
        days: [{ day: '2027-02-17', name: '春节', spans: [] }],
      },
    ],
    blocked_prefixes: ['168'],
  }
  return { customers, row, followUps, calls, users, extensions, lines, id }
}
